output "id" {
  description = "The engine's id of the builder."
  value       = stoneware_machine.builder.id
}

output "ip" {
  description = "Address of the builder in the machines' network."
  value       = stoneware_machine.builder.ip
}
