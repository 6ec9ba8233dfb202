// Package sops decrypts files in the format of SOPS whose data key is encrypted
// with age, in memory. It understands YAML (of several documents too), JSON,
// dotenv and binary files, the rules which values are encrypted, and checks the
// authentication code of every file.
//
// It is written anew because SOPS's own packages bring the libraries of all
// clouds along. Data keys that are spread over groups, other master keys than
// age's, and rules by comment are refused with a message.
package sops
