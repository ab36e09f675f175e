"""What this machine is and could do."""
