"""A room of Nemesyst."""
