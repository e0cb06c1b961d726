output "builder" {
  description = "For service_account of [google] in stoneware.toml."
  value       = google_service_account.builder.email
}

output "machine" {
  description = "For service_account of x-google in machines.yaml."
  value       = google_service_account.machine.email
}

output "github_account" {
  description = "For service_account of google-github-actions/auth."
  value       = one(google_service_account.github[*].email)
}

output "github_provider" {
  description = "For workload_identity_provider of google-github-actions/auth."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}
