# syntax=docker/dockerfile:1
# What decant build does, as a Dockerfile.

FROM docker.io/library/nginx:stable-alpine
COPY --chmod=u=rwX,go=rX dist/ /usr/share/nginx/html/
