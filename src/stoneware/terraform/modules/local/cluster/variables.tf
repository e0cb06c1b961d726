variable "networks" {
  description = "Networks of this cluster, by name. Those made elsewhere are named by machines only."
  type = map(object({
    labels = optional(map(string), {})
  }))
  default = {}
}

variable "volumes" {
  description = "Data disks of this cluster, by name."
  type = map(object({
    labels = optional(map(string), {})
  }))
  default = {}
}

variable "machines" {
  description = "The machines, by their short name. What `stoneware.terraform.variables.machine` returns."
  type = map(object({
    name      = string               # unique in the store: CLUSTER-SERVICE-SLOT
    source    = string               # image:sha256:…
    image_ref = optional(string, "") # the image as people call it
    hostname  = optional(string, "")
    names     = optional(list(string), []) # further names in its networks' DNS
    networks  = optional(list(string), []) # names of networks
    metadata  = optional(map(string), {})  # instance attributes, the runtime config among them
    secrets = optional(list(object({
      secret  = string                   # its name in the store
      target  = string                   # the file below /run/secrets, or an absolute path
      version = string                   # tells one value from the next and says nothing about either
      mode    = optional(string, "0400") # octal digits
      uid     = optional(number, 0)
      gid     = optional(number, 0)
    })), [])
    volumes = optional(list(object({
      volume    = string
      path      = string
      read_only = optional(bool, false)
    })), [])
    ports = optional(list(object({
      machine_port = number
      host_port    = optional(number, 0) # 0 for a free one
      host_ip      = optional(string, "0.0.0.0")
      protocol     = optional(string, "tcp")
    })), [])
    memory       = optional(number) # bytes
    cpus         = optional(number) # cores
    pids_limit   = optional(number) # processes and threads; -1 for any number
    ulimits = optional(list(object({
      name = string # as `ulimit` and Docker call it: nofile
      soft = number # -1 for no limit
      hard = number
    })), [])
    disk         = optional(number) # bytes of its root
    log_max_size = optional(number) # bytes of a file of its console
    log_max_file = optional(number) # files of its console
    read_only    = optional(bool, false)
    restart      = optional(string, "no")
    stop_timeout = optional(number, 10) # seconds
    labels       = optional(map(string), {})
    process = optional(object({ # how its service runs, instead of what the image says
      command           = optional(list(string), [])
      user              = optional(string, "")
      working_dir       = optional(string, "")
      stop_signal       = optional(string, "")
      groups            = optional(list(string), [])
      cap_drop          = optional(list(string), [])
      cap_add           = optional(list(string), [])
      no_new_privileges = optional(bool, false)
      oom_score_adj     = optional(number, 0)
    }))
    system = optional(object({ # settings of its system
      sysctls     = optional(map(string), {})
      tmpfs       = optional(map(string), {}) # path to mount options
      hosts       = optional(list(string), []) # NAME=ADDRESS
      dns_search  = optional(list(string), [])
      dns_options = optional(list(string), [])
    }))
    recreate_on  = optional(string, "") # a change of this text makes a new machine
    running      = optional(bool, true)
    wait_for     = optional(string, "") # running or healthy: how far it is waited for
  }))
  default = {}
}
