variable "project" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where the bucket, the machines and the NAT are."
  type        = string
}

variable "bucket" {
  description = "The name of the bucket; nobody else in the world may have it."
  type        = string
}

variable "network" {
  description = "The network of builders and machines."
  type        = string
  default     = "default"
}

variable "nat" {
  description = "Whether to make a Cloud NAT: not where the network has one already, or builders have public addresses."
  type        = bool
  default     = true
}

variable "operators" {
  description = "Who bakes and rolls: user:ann@example.com, group:…, serviceAccount:…"
  type        = list(string)
}

variable "github_repository" {
  description = "OWNER/NAME of the repository on GitHub whose workflows get an account; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "It is OWNER/NAME."
  }
}
