# Names in Cloud DNS, where a machine has `dns_zone`: an A record SHORT-NAME.DOMAIN for its address. The zone is one that
# there is, or a private one of the cluster's own, which `dns_zones` has.

resource "google_dns_managed_zone" "zone" {
  for_each = var.dns_zones

  project     = var.google.project
  name        = each.key
  dns_name    = each.value.dns_name
  description = "Names of machines, made by Stoneware"
  visibility  = "private"
  labels      = var.google.labels

  private_visibility_config {
    networks {
      network_url = local.network
    }
  }
}

data "google_dns_managed_zone" "zone" {
  for_each = setsubtract(local.zones, keys(var.dns_zones))

  project = var.google.project
  name    = each.key
}

resource "google_dns_record_set" "machine" {
  for_each = local.named

  project      = var.google.project
  managed_zone = local.domains[each.value.instance.dns_zone].name
  name         = "${each.key}.${local.domains[each.value.instance.dns_zone].dns_name}"
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_address.machine[each.key].address]
}

locals {
  named = { for key, machine in var.machines : key => machine if machine.instance.dns_zone != null }
  zones = toset([for machine in local.named : machine.instance.dns_zone])
  domains = merge(
    { for key, zone in data.google_dns_managed_zone.zone : key => { name = zone.name, dns_name = zone.dns_name } },
    { for key, zone in google_dns_managed_zone.zone : key => { name = zone.name, dns_name = zone.dns_name } },
  )

  network = (
    length(split("/", var.google.network)) > 1
    ? var.google.network
    : "projects/${var.google.project}/global/networks/${var.google.network}"
  )
}
