"""Speed, measured side by side with what else its users could pick."""
