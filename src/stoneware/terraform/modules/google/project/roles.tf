# The role of those who bake and roll: what Stoneware and its Terraform ask of Compute Engine, and nothing else.

resource "google_project_iam_custom_role" "operator" {
  project = var.project
  role_id = "stonewareOperator"
  title   = "Stoneware operator"

  permissions = [
    "compute.addresses.create", "compute.addresses.createInternal", "compute.addresses.delete",
    "compute.addresses.deleteInternal", "compute.addresses.get", "compute.addresses.list",
    "compute.addresses.setLabels", "compute.addresses.use", "compute.addresses.useInternal",
    "compute.diskTypes.get", "compute.disks.create", "compute.disks.delete", "compute.disks.get", "compute.disks.list",
    "compute.disks.resize", "compute.disks.setLabels", "compute.disks.use", "compute.disks.useReadOnly",
    "compute.firewalls.create", "compute.firewalls.delete", "compute.firewalls.get", "compute.firewalls.list",
    "compute.firewalls.update", "compute.networks.updatePolicy",
    "compute.globalOperations.get", "compute.regionOperations.get", "compute.zoneOperations.get",
    "compute.images.create", "compute.images.delete", "compute.images.deprecate", "compute.images.get",
    "compute.images.getFromFamily", "compute.images.list", "compute.images.setLabels", "compute.images.useReadOnly",
    "compute.instances.attachDisk", "compute.instances.create", "compute.instances.delete",
    "compute.instances.detachDisk", "compute.instances.get", "compute.instances.getGuestAttributes",
    "compute.instances.getSerialPortOutput", "compute.instances.list", "compute.instances.setDeletionProtection",
    "compute.instances.setDiskAutoDelete", "compute.instances.setLabels", "compute.instances.setMachineType",
    "compute.instances.setMetadata", "compute.instances.setServiceAccount", "compute.instances.setTags",
    "compute.instances.start", "compute.instances.stop", "compute.instances.update",
    "compute.instances.updateNetworkInterface",
    "compute.machineTypes.get", "compute.networks.get", "compute.networks.use", "compute.projects.get",
    "compute.regions.get", "compute.subnetworks.get", "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp", "compute.zones.get", "compute.zones.list",
    "resourcemanager.projects.get",
  ]
}

resource "google_project_iam_member" "operator" {
  for_each = toset(var.operators)

  project = var.project
  role    = google_project_iam_custom_role.operator.id
  member  = each.value
}

resource "google_storage_bucket_iam_member" "operator" {
  for_each = toset(var.operators)

  bucket = google_storage_bucket.stoneware.name
  role   = "roles/storage.admin"
  member = each.value
}

# Values of `secrets` in machines.yaml are put into Secret Manager by `up`.
resource "google_project_iam_member" "secrets" {
  for_each = toset(var.operators)

  project = var.project
  role    = "roles/secretmanager.admin"
  member  = each.value
}

# Who makes an instance with an account acts as it.
resource "google_service_account_iam_member" "operator" {
  for_each = {
    for pair in setproduct(["builder", "machine"], var.operators) : "${pair[0]} ${pair[1]}" => {
      account = pair[0] == "builder" ? google_service_account.builder.name : google_service_account.machine.name
      member  = pair[1]
    }
  }

  service_account_id = each.value.account
  role               = "roles/iam.serviceAccountUser"
  member             = each.value.member
}
