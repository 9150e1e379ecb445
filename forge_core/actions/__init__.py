"""Actions: the unified action space, its safe parser, the AGUVIS dialect and the prompts generated from the table."""
