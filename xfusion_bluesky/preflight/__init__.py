"""What a burst will be worth, from settings alone: arithmetic that needs no device."""
