variable "google" {
  description = "Where the machines are: project, region, network, subnetwork, and labels for all there is."
  type = object({
    project    = string
    region     = string
    network    = optional(string, "default")
    subnetwork = optional(string)
    labels     = optional(map(string), {})
  })
}

variable "networks" {
  description = "Networks of this cluster, by name; `rule` is the name of the firewall rule, and the tag of its machines."
  type = map(object({
    rule        = string
    description = optional(string) # a rule has no labels: Stoneware finds its own by this
  }))
  default = {}
}

variable "volumes" {
  description = "Data disks of this cluster, by name."
  type = map(object({
    disk = object({
      name   = string
      zone   = string
      type   = optional(string, "pd-balanced")
      size   = optional(number, 10) # GB; a disk grows in place and never shrinks
      labels = optional(map(string), {})
    })
  }))
  default = {}
}

variable "hosts" {
  description = "All machines of the cluster, by their short name, with the names by which the others know them."
  type = map(object({
    address  = string # the name of its address
    names    = list(string)
    networks = optional(list(string), [])
  }))
  default = {}
}

variable "dns_zones" {
  description = "Private zones of Cloud DNS to make, by name, each with its domain, which ends with a dot."
  type        = map(object({ dns_name = string }))
  default     = {}
}

variable "machines" {
  description = "The machines, by their short name."
  type = map(object({
    name     = string
    hostname = optional(string)
    metadata = optional(map(string), {}) # `stoneware-config` has the machine's runtime config
    networks = optional(list(string), [])
    ports    = optional(list(object({ machine_port = number, protocol = optional(string, "tcp") })), [])
    running  = optional(bool, true)

    instance = object({
      name                = optional(string)
      zone                = string
      image               = string # https://www.googleapis.com/compute/v1/projects/P/global/images/NAME
      hostname            = optional(string)
      machine_type        = optional(string, "e2-standard-2")
      min_cpu_platform    = optional(string)
      boot_size           = optional(number) # GB; as large as the image if left out
      boot_type           = optional(string, "pd-balanced")
      network             = optional(string, "default")
      subnetwork          = optional(string)
      external_ip         = optional(bool, false)
      service_account     = optional(string)
      scopes              = optional(list(string), ["cloud-platform"])
      spot                = optional(bool, false)
      deletion_protection = optional(bool, false)
      source_ranges       = optional(list(string), []) # who reaches its ports from outside
      exposed             = optional(list(object({ machine_port = number, protocol = optional(string, "tcp") })), [])
      rule                = optional(string) # name of the rule for these ports, and a tag of the machine
      dns_zone            = optional(string) # of `dns_zones`, or one that is there: has a name in it
      tags                = optional(list(string), [])
      labels              = optional(map(string), {})
      metadata            = optional(map(string), {})
      replace_on          = optional(string, "") # a change of this text makes a new machine

      disks = optional(list(object({
        volume    = string # of `volumes`, or another disk, which `source` names
        device    = string # /dev/disk/by-id/google-DEVICE
        source    = optional(string)
        read_only = optional(bool, false)
      })), [])
    })
  }))
  default = {}
}
