"""The account's mail at rest: one encrypted database and sealed files, behind `MailStore`."""
