// Package render turns a commit into objects, without a working tree: files
// are read from git objects, and what did not change since the last commit is
// not rendered again.
//
//	auto       a directory with a kustomization is built by kustomize, one with
//	           a Chart.yaml by Helm's engine; of every other one the .yaml,
//	           .yml and .json files are taken, and its subdirectories likewise
//	plain      files only; kustomizations and charts are ignored
//	kustomize  the path must be a kustomization
//	helm       the path must be a chart
//
// Kustomize runs in process, on the tree of the commit alone: remote bases,
// URLs, exec plug-ins and charts inside it are refused with a message that says so.
//
// Every object knows the file and line it is written at. Everything that is
// wrong with a commit is found at once.
package render
