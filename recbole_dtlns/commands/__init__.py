"""The console command, one module per command."""
