"""Cloud DNS: managed zones and their record sets, as records. Nothing is resolved by them."""
