"""What the world must find about a domain and its gateways: the zone to publish, and checks of what is published."""
