// Package volume gives pods their volumes: directories under the pod's own
// directory on the node,
//
//	<Dir>/<pod uid>/volumes/<volume>          what containers mount
//	<Dir>/<pod uid>/subpaths/<container>/<n>  bind mounts of checked subPaths
//
// ConfigMaps, Secrets, tokens and the downward API are written so that readers
// see all of a change or nothing of it:
//
//	key      → ..data/key
//	..data   → ..2026_01_02_15_04_05.123        replaced by one rename
//
// Secrets and tokens are on tmpfs only. Claims lead to the directories of
// local volumes, to <LocalDir>/<volume> for those of the built-in provisioner.
// Not supported are volumes that need another driver.
package volume
