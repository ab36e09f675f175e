"""What several test modules share. No claims."""
