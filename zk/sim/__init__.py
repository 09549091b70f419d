"""The deterministic simulator: whole servers on a simulated network, disk and clock, from one seed."""
