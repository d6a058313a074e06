"""VoVNet: the network (`vovnet`), its checkpoints (`checkpoint`), the published file."""
