"""The IMAP server (RFC 3501) that shows a MailStore to any mail reader."""
