# One instance per replica, from exactly one image. Metadata and labels change in place; another image, or another
# `replace_on`, makes a new instance, with the same name, address and disks.

resource "google_compute_instance" "machine" {
  for_each = var.machines

  project          = var.google.project
  zone             = each.value.instance.zone
  name             = coalesce(each.value.instance.name, each.value.name)
  hostname         = each.value.instance.hostname
  machine_type     = each.value.instance.machine_type
  min_cpu_platform = each.value.instance.min_cpu_platform
  labels           = merge(var.google.labels, each.value.instance.labels)
  tags             = each.value.instance.tags

  # Without it a machine that somebody stopped would be no difference to Terraform.
  desired_status            = each.value.running ? "RUNNING" : "TERMINATED"
  allow_stopping_for_update = true
  deletion_protection       = each.value.instance.deletion_protection

  metadata = merge(
    { enable-guest-attributes = "TRUE" },
    each.value.metadata,
    each.value.instance.metadata,
    { stoneware-hosts = local.hosts[join(",", sort(local.members[each.key].networks))] },
  )

  boot_disk {
    auto_delete = true
    device_name = "boot"

    initialize_params {
      # The link of one image, never of a family: a plan is the same tomorrow.
      image  = each.value.instance.image
      size   = each.value.instance.boot_size
      type   = each.value.instance.boot_type
      labels = merge(var.google.labels, each.value.instance.labels)
    }
  }

  dynamic "attached_disk" {
    for_each = each.value.instance.disks
    content {
      source      = try(google_compute_disk.volume[attached_disk.value.volume].id, attached_disk.value.source)
      device_name = attached_disk.value.device
      mode        = attached_disk.value.read_only ? "READ_ONLY" : "READ_WRITE"
    }
  }

  network_interface {
    network    = each.value.instance.subnetwork == null ? each.value.instance.network : null
    subnetwork = each.value.instance.subnetwork
    network_ip = try(google_compute_address.machine[each.key].address, null)

    dynamic "access_config" {
      for_each = each.value.instance.external_ip ? [1] : []
      content {}
    }
  }

  dynamic "service_account" {
    for_each = each.value.instance.service_account == null ? [] : [each.value.instance.service_account]
    content {
      email  = service_account.value
      scopes = each.value.instance.scopes
    }
  }

  dynamic "scheduling" {
    for_each = each.value.instance.spot ? [1] : []
    content {
      provisioning_model          = "SPOT"
      preemptible                 = true
      automatic_restart           = false
      instance_termination_action = "STOP"
    }
  }

  lifecycle {
    replace_triggered_by = [terraform_data.release[each.key]]
  }
}

# What a living machine does not take on: a change of it makes a new one.
resource "terraform_data" "release" {
  for_each = var.machines

  input = each.value.instance.replace_on
}
