variable "networks" {
  description = "Networks of this cluster, by name. Those made elsewhere are named by machines only."
  type = map(object({
    labels   = optional(map(string), {})
    internal = optional(bool) # left out: no
    subnets  = optional(list(string))
  }))
  default = {}
}

variable "volumes" {
  description = "Data disks of this cluster, by name; the size of new ones in bytes."
  type = map(object({
    labels = optional(map(string), {})
    size   = optional(number)
  }))
  default = {}
}

variable "hosts" {
  description = "All machines of the cluster, also those that are not there; the networks here know their names."
  type        = any
  default     = {}
}

variable "machines" {
  description = "The machines, by their short name. What `stoneware.terraform.variables.machine` returns."
  type = map(object({
    # FIELDS: types
    recreate_on  = optional(string, "") # a change of this text makes a new machine
    running      = optional(bool, true)
    wait_for     = optional(string, "") # running or healthy: how far it is waited for
  }))
  default = {}
}
