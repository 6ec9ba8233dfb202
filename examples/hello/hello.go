// Package hello is a repository to start a cluster from: a small web server,
// and the same for two stages. The web server's own source is in web.
package hello

import "embed"

// Path is the directory that a cluster follows.
const Path = "apps"

// Image is the name of the web server's image.
const Image = "hello:1"

// Repository is the content of the first commit.
//
//go:embed README.md apps overlays
var Repository embed.FS
