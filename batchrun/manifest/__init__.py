"""Text to checked jobs: reads a manifest and either returns frozen, validated values or reports every problem at once."""
