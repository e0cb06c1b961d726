# Lets volumes be destroyed, with their data.

resource "stoneware_volume" "volume" {
  lifecycle {
    prevent_destroy = false
  }
}
