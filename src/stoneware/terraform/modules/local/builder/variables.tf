variable "name" {
  description = "Name of the builder, unique in the store."
  type        = string
}

variable "boot_source" {
  description = "What the builder boots from: checkpoint:KEY or image:sha256:…"
  type        = string
}

variable "image_ref" {
  description = "The source as the user wrote it, for `stoneware ps`."
  type        = string
  default     = ""
}

variable "hostname" {
  description = "Host name inside the builder; empty for the name itself."
  type        = string
  default     = ""
}

variable "metadata" {
  description = "Instance attributes: the build agent as startup-script, and what it needs to know. Not secret."
  type        = map(string)
  default     = {}
}

variable "files" {
  description = "Files served to the builder alone by its metadata server: name to path on this computer."
  type        = map(string)
  default     = {}
}

variable "volumes" {
  description = "Volumes to mount."
  type = list(object({
    volume    = string
    path      = string
    read_only = optional(bool, false)
  }))
  default = []
}

variable "caches" {
  description = "Ids of directories that outlive builders, bound at /run/stoneware/cache/0, 1, …"
  type        = list(string)
  default     = []
}

variable "memory" {
  description = "Memory limit in bytes; null for none."
  type        = number
  default     = null
}

variable "cpus" {
  description = "Limit in cores; null for none."
  type        = number
  default     = null
}

variable "labels" {
  description = "Labels on the builder."
  type        = map(string)
  default     = {}
}

variable "stop_timeout" {
  description = "Seconds the services get before the builder is powered off."
  type        = number
  default     = 10
}
