output "id" {
  description = "Google's number of the builder."
  value       = google_compute_instance.builder.instance_id
}
