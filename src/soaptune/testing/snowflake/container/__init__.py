"""The programs that run inside an emulated container, and the one around it. They use the standard library only.

They are started as files, never imported by the emulator, and stand in for what belongs to the platform's image and
node: mounts and the end of a container (`supervisor`), pip, and the Ray cluster that the SDK's start script brings up.
"""
