"""The executor on a Ray cluster; imports Ray when it is used."""
