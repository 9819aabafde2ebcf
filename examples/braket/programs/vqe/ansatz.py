"""The part of a program that lies beside its entry point, and is packed with it."""


def energy(layers: int) -> float:
    """What so many layers would find of hydrogen's ground state, in hartree."""
    return -1.1373 * (1 - 0.4**layers)
