// Package encryption keeps what is stored unreadable to who has only the
// storage: values are sealed on their way to it and opened on their way back,
// in Kubernetes' own format, by the keys of an EncryptionConfiguration.
//
//	k8s:enc:PROVIDER:v1:KEY:…    sealed; the storage key is authenticated too
//	                             where the provider can (aescbc cannot, and
//	                             secretbox takes none)
//	k8s\0…  {…}                  plain
//
// A Ring holds the configuration that is in force and takes another without a
// restart. Keyfile is the configuration that a server makes for itself when it
// is given none; it alone knows how to take a new key and drop the old.
package encryption
