# Each machine has an address for as long as it belongs to the cluster: it stays when the machine is replaced.

resource "google_compute_address" "machine" {
  for_each = local.members

  project      = var.google.project
  region       = var.google.region
  name         = each.value.address
  address_type = "INTERNAL"
  subnetwork   = var.google.subnetwork
  labels       = var.google.labels
}

locals {
  # All machines of the cluster, those too that are not there at the moment.
  members = length(var.hosts) > 0 ? var.hosts : {
    for key, machine in var.machines : key => {
      address  = coalesce(machine.instance.name, machine.name)
      names    = [coalesce(machine.hostname, machine.name)]
      networks = machine.networks
    }
  }

  # Machines know each other by name: lines of /etc/hosts, which the machines keep up to date. Those on the same
  # networks have the same lines.
  circles = toset([for host in local.members : join(",", sort(host.networks))])
  hosts = {
    for circle in local.circles : circle => join("", [
      for key, host in local.members :
      # An import looks at this before all addresses are in the state, or while one has no value there yet because
      # the apply that made it was cut off. `try` alone lets null pass; `coalesce` fails on it.
      "${try(coalesce(google_compute_address.machine[key].address), "")}\t${join(" ", host.names)}\n"
      if circle == join(",", sort(host.networks)) || length(setintersection(split(",", circle), host.networks)) > 0
    ])
  }
}
