variable "project" {
  description = "Project that it is made in."
  type        = string
}

variable "name" {
  description = "Name of the builder and of its boot disk, unique in the zone."
  type        = string
}

variable "zone" {
  description = "Zone that it is made in."
  type        = string
}

variable "poll_interval" {
  description = "How often the provider looks whether an operation is done."
  type        = string
  default     = "2s"
}

variable "image" {
  description = "The exact image that it boots from: projects/P/global/images/NAME."
  type        = string
}

variable "machine_type" {
  description = "Its machine type."
  type        = string
}

variable "metadata" {
  description = "Instance attributes: the build agent as startup-script, and what it needs to know. Not secret."
  type        = map(string)
  default     = {}
}

variable "labels" {
  description = "Labels on the builder and its disk."
  type        = map(string)
  default     = {}
}

variable "network" {
  description = "Its network, where no subnetwork is named."
  type        = string
  default     = "default"
}

variable "subnetwork" {
  description = "Its subnetwork."
  type        = string
  default     = null
}

variable "external_ip" {
  description = "Whether it has a public address."
  type        = bool
  default     = false
}

variable "service_account" {
  description = "Whose token it has: reads the bundle from the bucket and writes the results. `default`: the project's own."
  type        = string
  default     = "default"
}

variable "scopes" {
  description = "What its token is for."
  type        = list(string)
  default     = ["https://www.googleapis.com/auth/devstorage.read_write"]
}

variable "disk_size" {
  description = "Size of its disk in GB, which the image's is to have."
  type        = number
  default     = 10
}

variable "disk_type" {
  description = "Type of its disk."
  type        = string
  default     = "pd-balanced"
}

variable "kms_key" {
  description = "Key of Cloud KMS that encrypts its disk: projects/P/locations/L/keyRings/R/cryptoKeys/K."
  type        = string
  default     = null
}

variable "life" {
  description = "Seconds after which it is deleted, whatever it does."
  type        = number
  default     = 28800
}
