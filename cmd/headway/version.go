package main

import "github.com/headway-sh/headway/apiserver/rest"

// version is what the program calls itself, the version of the API it serves.
func version() string { return rest.Version().GitVersion }
