"""Measures p2pmail; each of these is a command, `make bench BENCH=<name>`.

| name | measures | beside |
|---|---|---|
| delivery | mail from an SMTP client into IMAP IDLE: throughput, latency, CPU time, memory | Postfix and Dovecot |
| smtp_receive | the gateway's SMTP, everything on but storage | aiosmtpd as it is |
| imap | the agent's IMAP server, row by row | Dovecot |
| lookup | lookups among 100 nodes on loopback, some of them dead | the `kademlia` package |
| scale | lookups among up to 100,000 simulated nodes | greedy routing by Hamming distance |
| availability | losses in simulated worlds | the paper's equations |
| churn | what repair achieves and costs in simulated weeks | no repair |
"""
