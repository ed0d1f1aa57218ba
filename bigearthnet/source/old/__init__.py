"""The modules before the rebuild; deleted at the switch."""
