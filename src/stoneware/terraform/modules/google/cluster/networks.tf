# A network of machines.yaml is a set of machines in your VPC network that reach each other, on every port. What else
# reaches them is what the rules of the VPC network, and `source_ranges`, let through.

resource "google_compute_firewall" "network" {
  for_each = var.networks

  project     = var.google.project
  network     = var.google.network
  name        = each.value.rule
  description = coalesce(each.value.description, "Stoneware network ${each.key}")
  source_tags = [each.value.rule]
  target_tags = [each.value.rule]

  allow {
    protocol = "all"
  }
}

# The ports that machines publish, else those that their image EXPOSEs, for those outside who may come in.
locals {
  ports = { for key, machine in var.machines : key => concat(machine.ports, machine.instance.exposed) }
}

resource "google_compute_firewall" "ports" {
  for_each = {
    for key, machine in var.machines : key => machine
    if length(local.ports[key]) > 0 && length(machine.instance.source_ranges) > 0
  }

  project       = var.google.project
  network       = var.google.network
  name          = each.value.instance.rule
  description   = "Ports of ${each.value.name}"
  source_ranges = each.value.instance.source_ranges
  target_tags   = [each.value.instance.rule]

  dynamic "allow" {
    for_each = toset([for port in local.ports[each.key] : port.protocol])
    content {
      protocol = allow.value
      ports    = sort([for port in local.ports[each.key] : tostring(port.machine_port) if port.protocol == allow.value])
    }
  }
}
