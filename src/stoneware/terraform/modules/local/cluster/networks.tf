# Machines on one network reach each other, by name too. While a network exists, a machine's name keeps its
# address in it, also when the machine is replaced.

resource "stoneware_network" "network" {
  for_each = var.networks

  name     = each.key
  labels   = each.value.labels
  internal = each.value.internal
  subnets  = each.value.subnets
}
