"""Web pages into grounding data: capture pages, name what can be clicked, write AGUVIS rows and a ScreenSpot set."""
