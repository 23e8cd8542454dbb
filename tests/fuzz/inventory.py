"""Every reader of what others wrote, and the property or fuzz test that shows what it does with anything at all."""

from typing import Final

# "module:function" or "module:Class.method" → the test; test_inventory.py finds readers that are missing here
READERS: Final[dict[str, str]] = {
    "gateway.config:load": "tests/gateway/test_config.py::test_any_octets",
    "gateway.imap.commands:parse_command": "tests/gateway/imap/test_wire.py::test_any_stream_gives_commands_or_errors",
    "gateway.imap.dates:parse_date": "tests/fuzz/test_texts.py::test_dates",
    "gateway.imap.dates:parse_date_time": "tests/gateway/imap/test_dates.py::test_date_time_is_parsed_or_refused",
    "gateway.imap.flags:parse_flags": "tests/fuzz/test_texts.py::test_flags",
    "gateway.imap.mailbox_names:decode_mailbox_name": (
        "tests/gateway/imap/test_mailbox_names.py::test_no_two_wire_forms_of_a_name"
    ),
    "gateway.imap.sequence_sets:SequenceSet.parse": "tests/fuzz/test_texts.py::test_sequence_sets",
    "gateway.imap.mailbox_names:decode_utf8_name": "tests/fuzz/test_texts.py::test_utf8_names",
    "gateway.imap.wire:CommandReader.feed": (
        "tests/gateway/imap/test_wire.py::test_events_do_not_depend_on_how_octets_arrive"
    ),
    "gateway.mail.address:parse_mailbox": "tests/fuzz/test_texts.py::test_mailboxes",
    "gateway.mail.address:parse_path": "tests/gateway/mail/test_address.py::test_any_text_is_a_path_or_malformed",
    "gateway.mail.address_list:parse_addresses": "tests/gateway/mail/test_address_list.py::test_any_bytes",
    "gateway.mail.structure:parse": "tests/gateway/mail/test_structure.py::test_any_bytes",
    "gateway.mail.submission:HeaderRewriter.feed": "tests/gateway/mail/test_submission.py::test_everything_else_stays",
    "gateway.outbound.replies:parse_reply": (
        "tests/gateway/outbound/test_replies.py::test_any_reply_becomes_one_line_with_a_status"
    ),
    "gateway.outbound.sts_policy:parse_policy": (
        "tests/gateway/outbound/test_sts_policy.py::test_any_octets_are_a_policy_or_malformed"
    ),
    "gateway.outbound.sts_policy:parse_record": (
        "tests/gateway/outbound/test_sts_policy.py::test_any_records_name_an_identifier_or_nothing"
    ),
    "gateway.smtp.checked_header:CheckedHeader.feed": "tests/fuzz/test_smtp_wire.py::test_any_stream_to_an_agent",
    "gateway.mail.claims:authserv_id": (
        "tests/gateway/mail/test_claims.py::test_any_octets_have_an_identifier_or_none"
    ),
    "gateway.mail.claims:claims": "tests/gateway/mail/test_claims.py::test_any_header_is_searched",
    "gateway.smtp.body_hashes:BodyHashes.update": (
        "tests/gateway/smtp/test_body_hashes.py::test_blocks_hash_like_the_whole"
    ),
    "gateway.smtp.commands:parse_bdat": (
        "tests/gateway/smtp/test_chunking.py::test_any_argument_is_a_chunk_or_refused"
    ),
    "gateway.smtp.data:ChunkScanner.feed": ("tests/gateway/smtp/test_chunking.py::test_chunks_come_out_as_they_were"),
    "gateway.smtp.data:ContentScanner.feed": "tests/gateway/smtp/test_data.py::test_only_crlf_dot_crlf_ends_content",
    "gateway.smtp.data:HeaderScanner.feed": (
        "tests/gateway/smtp/test_data.py::test_header_ends_at_the_first_empty_line"
    ),
    "gateway.smtp.dkim_tags:parse_key": "tests/gateway/smtp/test_dkim_tags.py::test_any_record",
    "gateway.smtp.dkim_tags:parse_signature": "tests/gateway/smtp/test_dkim_tags.py::test_any_signature",
    "gateway.smtp.dkim_tags:parse_tags": "tests/gateway/smtp/test_dkim_tags.py::test_any_list_of_tags",
    "gateway.smtp.esmtp_parameters:parse_envid": (
        "tests/gateway/smtp/test_esmtp_parameters.py::test_any_parameter_is_understood_or_refused"
    ),
    "gateway.smtp.esmtp_parameters:parse_notify": (
        "tests/gateway/smtp/test_esmtp_parameters.py::test_any_parameter_is_understood_or_refused"
    ),
    "gateway.smtp.esmtp_parameters:parse_orcpt": (
        "tests/gateway/smtp/test_esmtp_parameters.py::test_any_parameter_is_understood_or_refused"
    ),
    "gateway.smtp.esmtp_parameters:parse_ret": (
        "tests/gateway/smtp/test_esmtp_parameters.py::test_any_parameter_is_understood_or_refused"
    ),
    "gateway.mail.size_limit:size_limit": (
        "tests/gateway/mail/test_size_limit.py::test_any_parameter_is_a_bounded_number"
    ),
    "gateway.mailbox.names:canonical": "tests/fuzz/test_texts.py::test_mailbox_names",
    "gateway.smtp.commands:parse_mail": (
        "tests/gateway/smtp/test_commands.py::test_any_argument_is_understood_or_refused"
    ),
    "gateway.smtp.commands:parse_rcpt": (
        "tests/gateway/smtp/test_commands.py::test_any_argument_is_understood_or_refused"
    ),
    "gateway.smtp.commands:parse_submitted_rcpt": (
        "tests/gateway/smtp/test_commands.py::test_any_argument_is_understood_or_refused"
    ),
    "gateway.smtp.dmarc:parse_policy": "tests/gateway/smtp/test_dmarc.py::test_any_record_is_a_policy_or_none",
    "p2pcore.client.uptime:load_uptime": "tests/p2pcore/client/test_uptime.py::test_any_octets",
    "p2pcore.crypto.certificate_parsing:load_certificate": (
        "tests/p2pcore/crypto/test_certificates.py::test_arbitrary_octets"
    ),
    "p2pcore.crypto.certificate_parsing:parse_certificate": (
        "tests/p2pcore/crypto/test_certificates.py::test_damaged_certificates"
    ),
    "p2pcore.crypto.key_files:KeyFiles.read_identity": "tests/fuzz/test_files.py::test_identities",
    "p2pcore.crypto.segments:read_header": "tests/p2pcore/crypto/test_sealing.py::test_arbitrary_octets",
    "p2pcore.crypto.signature_base:read_own": "tests/p2pcore/crypto/test_signature_base.py::test_reading_any_header",
    "p2pcore.crypto.recovery_kit:open_kit": "tests/fuzz/test_files.py::test_kits",
    "p2pcore.crypto.keys:HpkeKey.from_bytes": "tests/fuzz/test_files.py::test_private_keys",
    "p2pcore.crypto.keys:HpkePublic.from_bytes": "tests/fuzz/test_files.py::test_public_keys",
    "p2pcore.crypto.keys:SigningKey.from_bytes": "tests/fuzz/test_files.py::test_signing_keys",
    "p2pcore.mail.injection:Injection.restore": "tests/fuzz/test_files.py::test_queued_statements",
    "p2pcore.crypto.passwords:ScramVerifier.parse": "tests/fuzz/test_files.py::test_verifiers",
    "p2pcore.dht.contacts:load_contacts": "tests/p2pcore/dht/test_contacts.py::test_any_file_loads_or_is_malformed",
    "p2pcore.dht.datagrams:read_datagram": (
        "tests/p2pcore/dht/test_datagrams.py::test_any_octets_parse_or_are_malformed"
    ),
    "p2pcore.directory.text_forms:from_text": (
        "tests/p2pcore/directory/test_text_forms.py::test_arbitrary_text_between_the_lines_is_malformed"
    ),
    "p2pcore.endpoint:Endpoint.parse": "tests/p2pcore/test_endpoint.py::test_any_text_is_an_endpoint_or_malformed",
    "p2pcore.mail.record_file:load_record": "tests/fuzz/test_files.py::test_records_of_the_domain",
    "p2pcore.names:canonical_address": "tests/p2pcore/test_names.py::test_any_text_is_an_address_or_malformed",
    "p2pcore.names:canonical_domain": "tests/p2pcore/test_names.py::test_any_text_is_an_address_or_malformed",
    "p2pcore.names:canonical_local_part": "tests/p2pcore/test_names.py::test_canonical_address_is_idempotent",
    "p2pcore.names:split_address": "tests/p2pcore/test_names.py::test_any_text_is_an_address_or_malformed",
    "p2pcore.node.queries:parse_fetch": "tests/p2pcore/node/test_queries.py::test_any_query_parses_or_is_malformed",
    "p2pcore.node.queries:parse_inbox": "tests/p2pcore/node/test_queries.py::test_any_query_parses_or_is_malformed",
    "p2pcore.node.queries:parse_range": "tests/p2pcore/node/test_queries.py::test_any_range_lies_within_the_object",
    "p2pcore.node.queries:parse_wait": "tests/p2pcore/node/test_queries.py::test_any_preference_is_a_bounded_wait",
    "p2pcore.records.base:decode": "tests/p2pcore/test_records.py::test_arbitrary_octets",
    "p2pcore.records.base:decode_either": "tests/p2pcore/test_records.py::test_arbitrary_octets_of_either_layout",
}
