"""The domain's address list, its signed record, invitations and issuing."""
