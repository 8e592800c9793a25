"""How commands are judged, by what they are about. Pure: state, command and instant give events or a Rejection."""
