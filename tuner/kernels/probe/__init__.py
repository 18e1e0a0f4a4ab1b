"""What is measured once of a device, for the roofline: its highest rates of arithmetic and of each level of memory."""
