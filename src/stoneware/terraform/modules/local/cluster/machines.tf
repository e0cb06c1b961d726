# One machine per replica. Metadata and secrets change in place; another image, other disks, or another
# `recreate_on` make a new machine, under the same name and with the same disks.

resource "stoneware_machine" "machine" {
  for_each = var.machines

  name         = each.value.name
  source       = each.value.source
  image_ref    = each.value.image_ref
  hostname     = each.value.hostname
  names        = each.value.names
  networks     = each.value.networks
  metadata     = each.value.metadata
  secrets      = each.value.secrets
  volumes      = each.value.volumes
  ports        = each.value.ports
  memory       = each.value.memory
  cpus         = each.value.cpus
  pids_limit   = each.value.pids_limit
  ulimits      = each.value.ulimits
  disk         = each.value.disk
  log_max_size = each.value.log_max_size
  log_max_file = each.value.log_max_file
  read_only    = each.value.read_only
  restart      = each.value.restart
  stop_timeout = each.value.stop_timeout
  labels       = each.value.labels
  process      = each.value.process
  system       = each.value.system
  recreate_on  = each.value.recreate_on
  running      = each.value.running
  wait_for     = each.value.wait_for

  depends_on = [stoneware_network.network, stoneware_volume.volume]
}
