"""What EdgeLoRA writes, opened by other programs: each test runs the real one beside our runtime."""
