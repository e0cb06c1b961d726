output "machines" {
  description = "Each machine's id, image, address and published ports, by its short name."
  value = {
    for name, machine in stoneware_machine.machine : name => {
      name      = machine.name
      id        = machine.id
      image_id  = machine.image_id
      ip        = machine.ip
      published = machine.published
    }
  }
}
