// Package filewatch tells when a file may have changed, for configuration that
// is reloaded without a restart.
package filewatch
