"""What a mail is: pure rules over bytes, with no sockets, clocks or randomness."""
