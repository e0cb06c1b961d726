output "machines" {
  description = "Each machine's name, id, zone and address, by its short name."
  value = {
    for key, machine in google_compute_instance.machine : key => {
      name = machine.name
      id   = machine.instance_id
      zone = machine.zone
      ip   = one(machine.network_interface[*].network_ip) # none where the apply that made it was cut off
    }
  }
}
