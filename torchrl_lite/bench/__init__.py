"""Speed, compared with alternative libraries."""
