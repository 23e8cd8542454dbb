"""Mail out to other domains: durable queue, MX delivery, signatures, reports."""
